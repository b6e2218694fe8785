import { randomUUID } from 'node:crypto'
import type { Client, ClientOptions } from '../../client-sdk/index.ts'
import type { TestServer } from '../support/server.ts'
import { device, shut, until } from './device.ts'
import { failingStorage, type Moment } from './failing-storage.ts'

/**
 * Plays a story again and again: the app is killed at the first write of its sync, then at the second, and
 * so on, until it has finished before. Each time it starts again afterwards, and gets in sync.
 *
 * @param begin opens the device with these options, and leaves its sync paused
 * @param check is called with the device that was started again
 */
export async function killAtEachWrite<Scene extends { phone: Client }>(
  server: Pick<TestServer, 'url'>,
  moment: Moment,
  begin: (options: Partial<ClientOptions>) => Promise<Scene>,
  check: (again: Client, scene: Scene, where: string) => Promise<void>,
): Promise<void> {
  for (let nth = 1; ; nth++) {
    const failing = failingStorage()
    const options = { name: `killed-${randomUUID()}`, ...failing }
    const scene = await begin(options)
    const { phone } = scene
    let count = 0
    failing.onWrite = ({ context }) => {
      if (count < nth && !context.startsWith('replication-')) return undefined
      return ++count < nth ? undefined : { moment: count === nth ? moment : 'before' }
    }
    const isKilled = until(phone.sync.status$, (status) => status === 'error')
    await phone.sync.resume()
    await Promise.race([isKilled, phone.sync.awaitInSync()])
    failing.onWrite = () => ({ moment: 'before' })
    await shut(phone)
    failing.onWrite = () => undefined
    const again = await device(server, options)
    await again.sync.awaitInSync()
    await check(again, scene, `killed at write ${nth}`)
    await shut(again)
    if (count < nth) break
  }
}
