import { randomBytes } from 'node:crypto'
import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { parseArgs } from 'node:util'
import type * as z from 'zod'
import {
  type ManagedAccount,
  Problem,
  accounts as protocol,
  type Role,
  remedyFor,
} from '../../protocol/index.ts'
import type { Administration } from '../accounts/administration.ts'
import { createPasswords } from '../accounts/passwords.ts'
import { secretsOf } from '../accounts/secrets.ts'
import { createAccountServices } from '../accounts/services.ts'
import { followClock } from '../database/clock.ts'
import { openHints } from '../realtime/hints.ts'
import { readConfig } from '../runtime/config.ts'
import { createLog } from '../runtime/log.ts'
import { withDatabase } from './command-database.ts'
import { hintsBus } from './hints-bus.ts'
import { exitOnError } from './startup-error.ts'

const USAGE = `Manages accounts: for the first admin, and for emergencies.

  npm run user -- create <username> <email> [--role user|support|admin] [--generate]
  npm run user -- invite [--email <email>]
  npm run user -- promote <username> user|support|admin
  npm run user -- deactivate <username>
  npm run user -- reactivate <username>
  npm run user -- reset-password <username> [--generate]
  npm run user -- remove-factors <username>
  npm run user -- list [--search <beginning>] [--role <role>]

Instead of a username you can give an email address. On a terminal the command prompts for the
password, otherwise it reads it from standard input; --generate generates one and prints it once. A
password is never an argument, because other users of the machine could read it. Every change is
written to the audit log.

Uses the configuration of the server: DATABASE_URL, SECRET_KEY, DATA_DIR.
`

/** The exit code of an invalid command line. Other failures exit with 1. */
const USAGE_FAULT = 2

const LISTED = 200

interface Command {
  /** The names of its arguments. */
  takes: readonly string[]
  options: readonly ('role' | 'generate' | 'search' | 'email')[]
  run(administration: Administration, given: Given): Promise<string>
}

interface Given {
  words: string[]
  role?: string
  search?: string
  email?: string
  generate?: boolean
}

const COMMANDS: Record<string, Command> = {
  create: {
    takes: ['username', 'email'],
    options: ['role', 'generate'],
    async run(administration, { words: [username, email], role = 'user', generate }) {
      const known = { username, email, role: readRole(role) }
      const { password, said } = await choosePassword(generate)
      const registration = readAs(protocol.registration, { username, email, password })
      await administration.create({}, registration, known.role)
      return `Created ${registration.username} with the role ${known.role}. A confirmation mail is queued.${said}`
    },
  },
  invite: {
    takes: [],
    options: ['email'],
    async run(administration, { email }) {
      const address = email === undefined ? undefined : readAs(protocol.email, email)
      const { invite, expires_at } = await administration.invite({}, address)
      const url = readConfig().PUBLIC_URL
      return `${url ? `${url}/#invite=` : ''}${invite}\nCan be used once, until ${expires_at}.`
    },
  },
  promote: {
    takes: ['username', 'role'],
    options: [],
    async run(administration, { words: [name, role] }) {
      const to = readRole(role!)
      const { id, username } = await find(administration, name!)
      await administration.changeRole({}, id, to)
      return `${username} now has the role ${to}.${await warning(administration)}`
    },
  },
  deactivate: {
    takes: ['username'],
    options: [],
    async run(administration, { words: [name] }) {
      const { id, username } = await find(administration, name!)
      await administration.deactivate({}, id)
      return `Deactivated ${username}: signed out everywhere, cannot sign in.${await warning(administration)}`
    },
  },
  reactivate: {
    takes: ['username'],
    options: [],
    async run(administration, { words: [name] }) {
      const { id, username } = await find(administration, name!)
      await administration.reactivate({}, id)
      return `Reactivated ${username}.`
    },
  },
  'reset-password': {
    takes: ['username'],
    options: ['generate'],
    async run(administration, { words: [name], generate }) {
      const account = await find(administration, name!)
      const { password, said } = await choosePassword(generate)
      await administration.resetPassword(account, readAs(protocol.password, password))
      return `Reset the password of ${account.username}, who is signed out everywhere.${said}`
    },
  },
  'remove-factors': {
    takes: ['username'],
    options: [],
    async run(administration, { words: [name] }) {
      const account = await find(administration, name!)
      const removed = await administration.removeFactors(account)
      return removed === 0
        ? `${account.username} has no second factor.`
        : `Removed the second factors of ${account.username}, who is signed out everywhere: the password alone is enough now.`
    },
  },
  list: {
    takes: [],
    options: ['role', 'search'],
    async run(administration, { role, search }) {
      const filter = { ...(role && { role: readRole(role) }), ...(search && { search }) }
      const { count, results } = await administration.list({}, filter, LISTED, 0)
      const more = count - results.length
      return `${table(results)}${more > 0 ? `\n… and ${more} more. Use --search to narrow the list.` : ''}`
    },
  },
}

/** `npm run user -- …`. */
export async function runUserCommand(args: string[]): Promise<void> {
  const [name = '', ...rest] = args
  if (['', 'help', '--help', '-h'].includes(name)) return end(USAGE, name === '' ? USAGE_FAULT : 0)
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name]! : undefined
  if (!command) return end(`Unknown command: ${name}\n\n${USAGE}`, USAGE_FAULT)
  const given = readGiven(command, rest)
  if (typeof given === 'string') return end(`${name}: ${given}\n\n${USAGE}`, USAGE_FAULT)
  await exitOnError(() =>
    withAdministration((administration) => runOne(command, administration, given)),
  )
}

/** Prints the result to standard output, errors to standard error. */
async function runOne(
  command: Command,
  administration: Administration,
  given: Given,
): Promise<void> {
  try {
    process.stdout.write(`${await command.run(administration, given)}\n`)
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    const faults = Object.entries(error.errors ?? {}).map(
      ([field, messages]) => `  ${field}: ${messages.join(' ')}`,
    )
    throw new Error([error.message, ...faults].join('\n'))
  }
}

async function withAdministration(
  work: (administration: Administration) => Promise<void>,
): Promise<void> {
  const config = readConfig()
  // Standard output is for the result.
  const log = createLog('warn', { readable: false, to: process.stderr })
  await withDatabase(config, log, async (database) => {
    const clock = await followClock((question) => question(database.db), log)
    const hints = await openHints(hintsBus(config, database, log), clock.now)
    try {
      const { administration } = createAccountServices({
        db: database.db,
        secrets: secretsOf(config),
        passwords: createPasswords(),
        sessionDays: config.SESSION_DAYS,
        log,
        factorRoles: config.FACTOR_ROLES,
        now: clock.now,
        ended: hints.ended,
      })
      await work(administration)
    } finally {
      clock.stop()
      await hints.close()
    }
  })
}

/** @returns a message if the arguments are invalid */
function readGiven({ takes, options }: Command, args: string[]): Given | string {
  try {
    const { values, positionals: words } = parseArgs({
      args,
      allowPositionals: true,
      options: {
        role: { type: 'string' },
        search: { type: 'string' },
        email: { type: 'string' },
        generate: { type: 'boolean' },
      },
    })
    const strange = Object.keys(values).filter((name) => !options.includes(name as never))
    if (strange.length > 0) return `unknown option --${strange[0]}.`
    if (words.length !== takes.length)
      return takes.length === 0
        ? 'no arguments expected.'
        : `expected arguments: ${takes.join(', ')}.`
    return { words, ...values }
  } catch (error) {
    return (error as Error).message // an option of no command
  }
}

function readRole(text: string): Role {
  const role = protocol.role.safeParse(text)
  if (role.success) return role.data
  throw new Error(`Unknown role ${text}. Use one of: ${protocol.role.options.join(', ')}.`)
}

function readAs<S extends z.ZodType>(schema: S, input: unknown): z.output<S> {
  const result = schema.safeParse(input, { error: remedyFor })
  if (result.success) return result.data
  const faults = result.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`)
  throw new Error(faults.map((fault) => fault.replace(/^: /, '')).join('\n'))
}

async function find(administration: Administration, name: string): Promise<ManagedAccount> {
  const account = await administration.named(name)
  if (account) return account
  throw new Error(`No account ${name}. List accounts with: npm run user -- list`)
}

async function warning(administration: Administration): Promise<string> {
  const { count } = await administration.list({}, { role: 'admin', is_active: true }, 1, 0)
  if (count > 0) return ''
  return '\nWarning: there is no active admin any more. Use: npm run user -- promote <username> admin'
}

/** @returns the password, and a line to print it if it was generated */
async function choosePassword(generate = false): Promise<{ password: string; said: string }> {
  if (!generate) return { password: await askPassword(), said: '' }
  const password = randomBytes(18).toString('base64url')
  return { password, said: `\nPassword: ${password}` }
}

async function askPassword(): Promise<string> {
  if (process.stdin.isTTY) {
    const password = await askUnseen('Password: ')
    if (password === (await askUnseen('Again: '))) return password
    throw new Error('The passwords do not match. Nothing was changed.')
  }
  const [first = ''] = (await text(process.stdin)).split(/\r?\n/)
  if (first !== '') return first
  throw new Error('No password on standard input: pipe one in, or use --generate.')
}

/** Prompts on the terminal without showing the input. */
async function askUnseen(question: string): Promise<string> {
  process.stderr.write(question)
  const unseen = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = createInterface({ input: process.stdin, output: unseen, terminal: true })
  try {
    return await new Promise((answer, cancel) => {
      lines.once('line', answer)
      for (const way of ['SIGINT', 'close'] as const)
        lines.once(way, () => cancel(new Error('Cancelled. Nothing was changed.')))
    })
  } finally {
    lines.close()
    process.stderr.write('\n')
  }
}

function table(accounts: readonly ManagedAccount[]): string {
  const rows = accounts.map(({ username, email, role, is_active, last_seen_at }) => [
    username,
    email,
    role,
    is_active ? 'active' : 'deactivated',
    last_seen_at ?? 'never',
  ])
  const all = [['USERNAME', 'EMAIL', 'ROLE', 'STATE', 'LAST SEEN'], ...rows]
  const widths = all[0]!.map((_, i) => Math.max(...all.map((row) => row[i]!.length)))
  return all
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

function end(message: string, code: number): void {
  ;(code === 0 ? process.stdout : process.stderr).write(message)
  process.exitCode = code
}
