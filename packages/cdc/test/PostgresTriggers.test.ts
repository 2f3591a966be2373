import { Layer } from "effect"
import * as CommitSignal from "../src/CommitSignal.ts"
import * as PostgresTriggers from "../src/PostgresTriggers.ts"
import { contract } from "./ChangeSourceContract.ts"
import { layerOf } from "./database.ts"

const sourceOf = (url: string, tables: Parameters<typeof PostgresTriggers.layer>[0]) =>
  PostgresTriggers.layer(tables).pipe(Layer.provide([Layer.orDie(layerOf(url)), CommitSignal.layerMemory]))

contract({ source: "triggers", layer: sourceOf, isDurable: true })
