/**
 * `npm run bench:mail`: how fast reminders drain that are due in the same minute, beside a loop that
 * does nothing but send. README.md beside this file says how it is measured.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { v7 as uuidv7 } from 'uuid'
import { resources, settle } from '../protocol/index.ts'
import { addJob } from '../server/jobs/queue.ts'
import { render } from '../server/mail/render.ts'
import { fillIn } from '../server/mail/templates/index.ts'
import { SEND_REMINDERS } from '../server/reminders/reminders.ts'
import type { BareJob } from './mail/bare.ts'
import type { Counted, SinkJob } from './mail/sink.ts'
import { type Ground, openGround } from './stage.ts'
import { band, decimals, median, table } from './table.ts'

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    reminders: { type: 'string', default: '5000' },
  },
})
const rounds = Number(options.rounds)
const reminders = Number(options.reminders)

/** Those of the configuration, if nothing else is said. */
const CONNECTIONS = 5
const JOBS_AT_ONCE = 10
const DESCRIPTION = 'Something more to say about it, in a line or so of text.'
const DUE = { due_date: '2026-12-01', due_time: '08:30' }
const root = fileURLToPath(new URL('..', import.meta.url))

const ground = await openGround()
try {
  const sink = ground.startWorker('dist/bench/mail/sink.js') as Sink
  const port = await sink<number>({ kind: 'listen' })
  const bare = ground.startWorker('dist/bench/mail/bare.js')
  await populate(ground)
  console.log(report(await measure({ sink, port, bare })))
} finally {
  await ground.close()
}

type Sink = <Result>(job: SinkJob) => Promise<Result>

interface Measured {
  /** Mails a second. */
  bare: number[]
  one: number[]
  two: number[]
}

async function measure({
  sink,
  port,
  bare,
}: {
  sink: Sink
  port: number
  bare: ReturnType<Ground['startWorker']>
}): Promise<Measured> {
  const measured: Measured = { bare: [], one: [], two: [] }
  let sent = 0
  const rateFrom = async (begin: () => Promise<number>) => {
    const drained = sink<Counted>({ kind: 'count', from: sent, messages: reminders })
    const began = await begin()
    const { total, at } = await drained
    if (total !== sent + reminders) throw new Error(`${total - sent} mails, not ${reminders}`)
    sent = total
    return (reminders * 1000) / (at - began)
  }
  for (let round = 0; round <= rounds; round++) {
    const inTurn: [keyof Measured, () => Promise<number>][] = [
      ['bare', () => rateFrom(() => bare<number>(bareJob(port)))],
      ['one', () => withWorkers(1, port, () => rateFrom(makeDue))],
      ['two', () => withWorkers(2, port, () => rateFrom(makeDue))],
    ]
    if (round % 2 === 1) inTurn.reverse()
    for (const [name, rate] of inTurn) {
      const perSecond = await rate()
      // The first round warms up.
      if (round > 0) measured[name].push(perSecond)
    }
    process.stderr.write(`${round}/${rounds}\r`)
  }
  return measured
}

/** People who each have a task of which they are to be reminded. */
async function populate({ db }: Ground): Promise<void> {
  const made = new Date().toISOString()
  const ids = Array.from({ length: reminders }, () => uuidv7())
  await db.batchInsert(
    'users',
    ids.map((id, i) => ({
      id,
      username: `person${i}`,
      email: `person${i}@example.com`,
      email_verified_at: made,
      // Fewer reminders an hour are sent for a new account.
      created_at: '2026-01-01T00:00:00.000Z',
      password_hash: '',
    })),
  )
  const documents = ids.map((id) => ({
    profile: settle(resources.profile, { id }, undefined, made),
    task: settle(
      resources.tasks,
      { id: uuidv7(), title: 'Book the ferry', description: DESCRIPTION, ...DUE },
      undefined,
      made,
    ),
  }))
  for (const [table, kind] of [
    ['profiles', 'profile'],
    ['tasks', 'task'],
  ] as const)
    await db.batchInsert(
      table,
      documents.map((each, i) => ({ user_id: ids[i], ...each[kind] })),
    )
  await db.raw('vacuum analyze')
}

/** Everybody is to be reminded now. @returns when that was */
async function makeDue(): Promise<number> {
  const { db } = ground
  await db('tasks').update({
    remind_at: db.raw('clock_timestamp()'),
    updated_at: db.raw(`now() - interval '1 minute'`),
  })
  const began = Date.now()
  await addJob(db, SEND_REMINDERS, {})
  return began
}

function bareJob(port: number): BareJob {
  const contents = {
    title: 'Book the ferry',
    description: DESCRIPTION,
    due: { date: DUE.due_date, time: DUE.due_time },
    isNewAccount: false,
    url: 'http://tasktide.example/',
    unsubscribe_url: 'http://tasktide.example/#unsubscribe=token',
  }
  const content = fillIn('reminder', contents, { locale: 'en', timezone: 'UTC' })
  const { subject, text, html } = render(content)
  return {
    port,
    connections: CONNECTIONS,
    atOnce: JOBS_AT_ONCE,
    messages: reminders,
    subject,
    text,
    html,
  }
}

async function withWorkers<T>(count: number, port: number, work: () => Promise<T>): Promise<T> {
  const { rows } = await ground.db.raw('select current_database() as name')
  const env = {
    PATH: process.env.PATH,
    NODE_ENV: 'production',
    DATABASE_URL: ground.urlOf(rows[0].name),
    SECRET_KEY: 'only for measuring: 0123456789 abcdefghij',
    SMTP_URL: `smtp://127.0.0.1:${port}`,
    MAIL_FROM: 'tasks@tasktide.example',
    PUBLIC_URL: 'http://tasktide.example',
  }
  const workers = Array.from({ length: count }, () =>
    spawn(process.execPath, ['scripts/worker.mjs'], {
      cwd: root,
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    }),
  )
  try {
    await Promise.all(workers.map(isReady))
    return await work()
  } finally {
    for (const worker of workers) worker.kill('SIGTERM')
    await Promise.all(workers.map((worker) => worker.exitCode ?? once(worker, 'exit')))
  }
}

async function isReady({ stdout }: ChildProcess): Promise<void> {
  let text = ''
  while (!text.includes('waiting for jobs')) text += (await once(stdout!, 'data'))[0]
  stdout!.resume()
}

function report({ bare, one, two }: Measured): string {
  const row = (name: string, rates: number[]) => {
    const ratio = band(rates.map((rate, round) => rate / bare[round]!))
    return [
      name,
      decimals(median(rates), 0),
      decimals(reminders / median(rates), 1),
      decimals(ratio.median, 2),
      `${decimals(ratio.min, 2)}-${decimals(ratio.max, 2)}`,
    ]
  }
  const rows = [row('bare', bare), row('one worker', one), row('two workers', two)]
  return `
${reminders} reminders due in the same minute, ${rounds} rounds, medians:

${table(['', 'mails/s', 'seconds', 'of bare', 'min-max'], rows)}

"of bare": mails a second, of those of bare in the same round.`
}
