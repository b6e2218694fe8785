import type { Knex } from 'knex'
import { migrationSource } from './migrations/index.ts'

/** For the knex command line (`node --import tsx node_modules/.bin/knex migrate:status`); the server and `npm run migrate` need it not. */
const config: Knex.Config = {
  client: 'pg',
  connection: process.env.DATABASE_URL,
  migrations: { migrationSource },
}

export default config
