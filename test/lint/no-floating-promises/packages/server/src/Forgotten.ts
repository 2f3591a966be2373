const send = async () => {}

export const run = () => {
  send()
}
