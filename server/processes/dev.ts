import { createDemoData } from './demo-data.ts'
import { runFromEnvironment, type Server } from './web.ts'

if (process.env.DATABASE_URL || process.env.NODE_ENV === 'production') {
  process.stderr.write(
    'npm run dev creates users with demo data. Unset DATABASE_URL and NODE_ENV to use it.\n',
  )
  process.exit(1)
}

// What started it has died, in whatever way.
process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'))

/** `npm run dev`: the server with demo data. */
await runFromEnvironment(async (server: Server) => {
  const names = await createDemoData(server)
  for (const { username, password } of names)
    process.stdout.write(`Demo user: ${username}, password: ${password}\n`)
})
