/**
 * `npm run sim`: the promises of the sync core, tried against whatever can go wrong.
 *
 *     npm run sim -- --seeds 500             seeds 1 to 500 in memory, and a twentieth of them on Postgres
 *     npm run sim -- --seeds 50 --store postgres
 *     npm run sim -- --seed 17 --history     one seed, with all that happens in it
 *     npm run sim -- --mutants               takes out each guard in turn; every time it must be found
 */
import { parseArgs } from 'node:util'
import { memoryBackend, withPostgres } from './backends.ts'
import { findMutants } from './mutants.ts'
import { bundleSdk } from './sdk/bundle.ts'
import { type Backend, runSeed } from './world.ts'

const { values: options } = parseArgs({
  options: {
    seeds: { type: 'string', default: '200' },
    first: { type: 'string', default: '1' },
    seed: { type: 'string' },
    store: { type: 'string', default: 'both' },
    history: { type: 'boolean', default: false },
    mutants: { type: 'boolean', default: false },
    'may-fail': { type: 'boolean', default: false },
    sdk: { type: 'boolean', default: false },
    all: { type: 'boolean', default: false },
  },
})

const openSdk = options.sdk ? await bundleSdk() : undefined
if (options.mutants) process.exitCode = (await findMutants()) ? 0 : 1
else {
  const first = Number(options.seed ?? options.first)
  const count = options.seed ? 1 : Number(options.seeds)
  const onPostgres = options.store === 'both' && !options.seed ? Math.ceil(count / 20) : count
  let holds = true
  if (options.store !== 'postgres') holds = await run('memory', memoryBackend(), first, count)
  if (holds && options.store !== 'memory')
    holds = await withPostgres((backend) => run('Postgres', backend, first, onPostgres))
  process.exitCode = holds ? 0 : 1
}

/** Runs until the first seed that breaks a promise, and tells its history. */
async function run(name: string, backend: Backend, first: number, count: number): Promise<boolean> {
  const began = performance.now()
  const seen = new Map<string, number>()
  for (let seed = first; seed < first + count; seed++) {
    const {
      history,
      violations,
      seen: these,
    } = await runSeed(seed, backend, {
      mayFail: options['may-fail'],
      ...(openSdk && { openSdk }),
    })
    for (const [what, times] of these) seen.set(what, (seen.get(what) ?? 0) + times)
    if ((violations.length > 0 && !options.all) || options.history) console.log(history.join('\n'))
    if (violations.length === 0) continue
    console.log(`\nSeed ${seed} on ${name} breaks a promise:`)
    for (const violation of violations) console.log(`- ${violation}`)
    console.log(`Again: npm run sim -- --seed ${seed} --store ${name.toLowerCase()}`)
    if (!options.all) return false
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(1)
  console.log(`${name}: ${count} seeds in ${seconds} s, every promise kept.`)
  for (const [what, times] of [...seen].sort()) console.log(`  ${what}: ${times}`)
  return true
}
