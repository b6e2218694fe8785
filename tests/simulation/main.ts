/**
 * `npm run sim`: tests the promises of sync under simulated faults.
 *
 *     npm run sim -- --seeds 500             seeds 1 to 500 with models of devices, in memory; a fifth of
 *                                            them with the SDK, and a twentieth on Postgres
 *     npm run sim -- --seeds 5000 --devices sdk      on devices that run the SDK
 *     npm run sim -- --seeds 50 --store postgres
 *     npm run sim -- --seed 17 --history     one seed, with its history
 *     npm run sim -- --mutants               mutation run: removes each guard and checks that the run fails
 */
import { parseArgs } from 'node:util'
import { memoryBackend, withPostgres } from './backends.ts'
import { findMutants } from './mutants.ts'
import { bundleSdk } from './sdk/bundle.ts'
import { type Backend, runSeed } from './world.ts'

/** Seeds between progress messages. */
const PROGRESS = 250

const { values: options } = parseArgs({
  options: {
    seeds: { type: 'string', default: '200' },
    first: { type: 'string', default: '1' },
    seed: { type: 'string' },
    store: { type: 'string', default: 'both' },
    history: { type: 'boolean', default: false },
    mutants: { type: 'boolean', default: false },
    'may-fail': { type: 'boolean', default: false },
    devices: { type: 'string' },
    'keep-going': { type: 'boolean', default: false },
  },
})

if (options.mutants) process.exitCode = (await findMutants()) ? 0 : 1
else process.exitCode = (await runAll()) ? 0 : 1

async function runAll(): Promise<boolean> {
  const first = Number(options.seed ?? options.first)
  const { devices = options.store === 'postgres' ? 'models' : 'both', store } = options
  const count = (share: number) => (options.seed ? 1 : Math.ceil(Number(options.seeds) * share))
  const isEach = devices === 'both'
  let holds = true
  if (devices !== 'sdk' && store !== 'postgres')
    holds = await run('models', 'memory', memoryBackend(), first, count(1))
  if (holds && devices !== 'models' && store !== 'postgres')
    holds = await run('sdk', 'memory', memoryBackend(), first, count(isEach ? 0.2 : 1))
  if (holds && devices !== 'sdk' && store !== 'memory')
    holds = await withPostgres((backend) =>
      run('models', 'Postgres', backend, first, count(store === 'both' ? 0.05 : 1)),
    )
  return holds
}

/** Runs until the first seed that breaks a promise, and prints its history. */
async function run(
  devices: 'models' | 'sdk',
  store: string,
  backend: Backend,
  first: number,
  count: number,
): Promise<boolean> {
  const openSdk = devices === 'sdk' ? await bundleSdk() : undefined
  let broken = 0
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
    const done = seed - first + 1
    if (done % PROGRESS === 0 && done < count)
      console.error(`${devices} on ${store}: ${done} seeds`)
    if ((violations.length > 0 && !options['keep-going']) || options.history)
      console.log(history.join('\n'))
    if (violations.length === 0) continue
    broken++
    console.log(`\nSeed ${seed} on ${store} breaks a promise:`)
    for (const violation of violations) console.log(`- ${violation}`)
    const again = `--seed ${seed} --store ${store.toLowerCase()} --devices ${devices}`
    console.log(`Again: npm run sim -- ${again}`)
    if (!options['keep-going']) return false
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(1)
  const outcome = broken > 0 ? `${broken} break a promise` : 'every promise kept'
  console.log(`${devices} on ${store}: ${count} seeds in ${seconds} s, ${outcome}.`)
  for (const [what, times] of [...seen].sort()) console.log(`  ${what}: ${times}`)
  return broken === 0
}
