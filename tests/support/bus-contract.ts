import { afterEach, describe, expect, test } from 'vitest'
import type { OpenBus } from '../../server/realtime/bus.ts'

/** One bus, and a node whose connection can be blocked. */
export interface BusScene {
  open: OpenBus
  /** Opens the bus over connections that can be blocked: existing ones then break, and new ones fail. */
  openBarred: OpenBus
  bar(): void
  unbar(): void
  /** Resolves after this many refused connections. */
  refused(count: number): Promise<void>
  /** The number of open connections of `openBarred`. */
  count(): number
  close(): Promise<void>
}

/** The promises of every bus. */
export function busContract(name: string, setUp: () => Promise<BusScene>): void {
  describe(`a bus over ${name}`, () => {
    const ends: (() => Promise<unknown>)[] = []
    afterEach(async () => {
      for (const end of ends.splice(0).reverse()) await end()
    })

    async function scene(): Promise<BusScene> {
      const scene = await setUp()
      ends.push(scene.close)
      return scene
    }

    async function join(open: OpenBus) {
      const heard: string[] = []
      let wake = () => {}
      const hear = (what: string) => {
        heard.push(what)
        wake()
      }
      const bus = await open({ message: hear, gap: () => hear('gap') })
      ends.push(bus.close)
      return {
        bus,
        heard,
        async until(last: string) {
          while (!heard.includes(last))
            await new Promise<void>((resolve) => {
              wake = resolve
            })
        },
      }
    }

    test('delivers messages to all other nodes in order', async () => {
      const { open } = await scene()
      const nodes = [await join(open), await join(open), await join(open)] as const
      await nodes[0].bus.send(['u1 12', 'u2 12'])
      await nodes[0].bus.send(['last'])
      for (const { heard, until } of nodes.slice(1)) {
        await until('last')
        expect(heard).toEqual(['u1 12', 'u2 12', 'last'])
      }
    })

    test('close waits for sends in progress, and nothing is received afterwards', async () => {
      const { open } = await scene()
      const [here, there] = [await join(open), await join(open)]
      const sending = here.bus.send(['last words'])
      await here.bus.close()
      await sending
      await there.until('last words')
      const { length } = here.heard
      await there.bus.send(['too late'])
      await there.bus.close()
      expect(here.heard).toHaveLength(length)
    })

    test('reconnects after an outage, reports a gap, and still uses one connection', async () => {
      const { open, openBarred, bar, unbar, refused, count } = await scene()
      const [here, there] = [await join(openBarred), await join(open)]
      bar()
      // Two new attempts after each failure would end in thousands of connections.
      await refused(6)
      await here.bus.send(['lost'])
      unbar()
      await here.until('gap')
      for (let i = 0; i < 20; i++) {
        await here.bus.send([`a${i}`])
        await there.until(`a${i}`)
        await there.bus.send([`b${i}`])
        await here.until(`b${i}`)
      }
      expect(count()).toBe(1)
      expect(here.heard.filter((what) => what === 'gap')).toHaveLength(1)
      expect(there.heard).not.toContain('lost')
    })
  })
}
