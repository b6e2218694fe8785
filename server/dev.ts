import { demonstrate } from './demonstration.ts'
import { runFromEnvironment, type Server } from './main.ts'

/** `npm run dev`: the server with two people in it who have something to do. */
await runFromEnvironment(async (server: Server) => {
  const names = await demonstrate(server.app)
  for (const { username, password } of names)
    process.stdout.write(`Demo user: ${username}, password: ${password}\n`)
})
