import * as Engine from "@headwater/server/Engine"

export const engine = Engine
