/**
 * Keeps values on disk that do not fit into memory: appended to a temporary file, read back as often as one likes.
 *
 * A file has no name once it is open, so that whatever ends this process frees it; it is closed when nobody can reach
 * what was written to it any more. Large files are not reused: space comes back when all of a file was given up.
 *
 * Synchronous, because the log is decoded in the turn in which it arrives; what waits meanwhile is the socket.
 */
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as v8 from "node:v8"

export interface Stored<A> {
  /** A fresh copy. */
  readonly read: () => A
}

export interface Spool {
  /** The value must be plain data: no functions, and classes lose theirs. */
  readonly write: <A>(value: A) => Stored<A>
}

export const make = (maxFileBytes = 256 * 1024 * 1024): Spool => {
  let file: File | undefined
  return {
    write<A>(value: A) {
      const bytes = v8.serialize(value)
      if (file === undefined || file.size > maxFileBytes) file = open()
      const { fd } = file
      const at = file.size
      for (let done = 0; done < bytes.length;) done += fs.writeSync(fd, bytes, done, bytes.length - done, at + done)
      file.size += bytes.length
      // Holds the file, not only its number.
      const held = file
      const { length } = bytes
      return {
        read() {
          const copy = Buffer.allocUnsafe(length)
          for (let done = 0; done < length;) {
            const count = fs.readSync(held.fd, copy, done, length - done, at + done)
            if (count === 0) throw new Error("a temporary file lost its end")
            done += count
          }
          return v8.deserialize(copy) as A
        }
      }
    }
  }
}

interface File {
  readonly fd: number
  size: number
}

const open = (): File => {
  const name = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "headwater-")), "steps")
  const file: File = { fd: fs.openSync(name, "wx+", 0o600), size: 0 }
  let isUnlinked = true
  try {
    fs.rmSync(path.dirname(name), { recursive: true })
  } catch {
    // Not where open files cannot be removed.
    isUnlinked = false
  }
  closing.register(file, { fd: file.fd, directory: isUnlinked ? undefined : path.dirname(name) })
  return file
}

const closing = new FinalizationRegistry<{ readonly fd: number; readonly directory: string | undefined }>(({ directory, fd }) => {
  fs.closeSync(fd)
  if (directory !== undefined) fs.rmSync(directory, { recursive: true, force: true })
})
