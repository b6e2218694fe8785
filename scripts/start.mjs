import { ensureInstalled, production } from './install.mjs'
import { load } from './load.mjs'
import { stopWithParent } from './parent.mjs'

ensureInstalled()
if (!production) await buildWhatIsStale()
const { runFromEnvironment } = await load('web')
stopWithParent()
await runFromEnvironment()

async function buildWhatIsStale() {
  const { ensureWebApp } = await import('../web/build.mjs')
  const { ensureTarball } = await import('../client-sdk/build/tarball.mjs')
  await ensureWebApp()
  await ensureTarball()
}
