/** Searches among 100,000 tasks of one person, over HTTP: how long a first page of 20 with its count takes. */
import { v7 as uuidv7 } from 'uuid'
import { resources, settle } from '../protocol/index.ts'
import { indexSearch } from '../server/store/search-index.ts'
import { type Latencies, summary } from './latencies.ts'
import { addPerson, type Stage } from './stage.ts'
import { decimals, table } from './table.ts'

const TASKS = 100_000
const WORDS = 20_000

/** Words and phrases that this share of the tasks has, half of them in the title. */
const PLANTED: Readonly<Record<string, number>> = {
  xylophone: 0.0002,
  harpsichord: 0.002,
  ferry: 0.01,
  'book the ferry': 0.005,
  meeting: 0.067,
  invoice: 0.12,
  Überweisung: 0.12,
  project: 0.3,
}

const SEARCHES: readonly [kind: string, search: string][] = [
  ['no hit', 'nothing'],
  ['rare word', 'xylophone'],
  ['word', 'harpsichord'],
  ['frequent word', 'meeting'],
  ['frequent word', 'invoice'],
  ['with an umlaut', 'uberweisung'],
  ['very frequent word', 'project'],
  ['prefix', 'invoi'],
  ['part of many words', 'ban'],
  ['one letter', 'k'],
  ['two letters', 'ba'],
  ['two words', 'ferry invoice'],
  ['two frequent words', 'meeting invoice'],
  ['phrase', '"book the ferry"'],
]

export async function measureSearch({ db, ours }: Stage, rounds: number): Promise<string> {
  const texts = textsOf(TASKS)
  const tasks = texts.map((text, n) => {
    const created_at = new Date(Date.UTC(2020, 0, 1) + n * 1_700_000).toISOString()
    const task = { id: uuidv7(), ...text, completed: n % 10 < 6, created_at }
    return settle(resources.tasks, task, undefined, created_at)
  })
  const { id, access } = await addPerson(db, 'searching', tasks)
  await indexSearch(db, id, resources.tasks)
  await db.raw('vacuum analyze')

  const took = SEARCHES.map((): number[] => [])
  const counts: number[] = []
  for (let round = -2; round < rounds * 5; round++)
    for (const [i, [, search]] of SEARCHES.entries()) {
      const began = performance.now()
      const response = await fetch(`${ours.url}/api/tasks/?${new URLSearchParams({ search })}`, {
        headers: { authorization: `Bearer ${access}` },
      })
      counts[i] = ((await response.json()) as { count: number }).count
      if (round >= 0) took[i]!.push(performance.now() - began)
    }
  const rows = SEARCHES.map(([kind, search], i) => {
    const { p50, p99 }: Latencies = summary(took[i]!)
    const least = Math.min(...took[i]!)
    return [kind, search, String(counts[i]), ...[least, p50, p99].map((ms) => decimals(ms, 1))]
  })
  return `
A first page of 20 tasks and their count, of ${TASKS} tasks of one person, ${rounds * 5} times, one after the other:

${table(['', 'search', 'hits', 'least ms', 'p50 ms', 'p99 ms'], rows)}`
}

/** Titles of 3 to 6 words, and notes of up to 24 or none, with as many frequent and rare words as a language has. */
function textsOf(many: number) {
  const chance = chancesOf(7)
  const below = (end: number) => Math.floor(chance() * end)
  const syllables = [...'bcdfghklmnprstvz'].flatMap((one) => [...'aeiou'].map((two) => one + two))
  const vocabulary = new Set<string>()
  while (vocabulary.size < WORDS) {
    const word = Array.from({ length: 2 + below(3) }, () => syllables[below(syllables.length)])
    vocabulary.add(`${word.join('')}${['', 'n', 's', 't', 'r'][below(5)]}`)
  }
  const words = [...vocabulary]
  // Zipf: the nth word is as frequent as 1 / n.
  const word = () => words[Math.floor(WORDS ** chance()) - 1]!
  return Array.from({ length: many }, () => {
    const title = Array.from({ length: 3 + below(4) }, word)
    const description = Array.from({ length: chance() < 0.4 ? 0 : 5 + below(20) }, word)
    for (const [planted, share] of Object.entries(PLANTED))
      if (chance() < share) (chance() < 0.5 ? title : description).push(planted)
    if (chance() < 0.1) description.push('später')
    return { title: title.join(' '), description: description.join(' ') }
  })
}

/** The same in each run. */
function chancesOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}
