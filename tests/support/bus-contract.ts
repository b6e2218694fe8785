import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, type TestContext, test } from 'vitest'
import type { OpenBus } from '../../server/realtime/bus.ts'
import { openLine } from './line.ts'

/** What carries the messages, and how to open a bus over it, through whichever address. */
export interface BusScene {
  url: string
  open(url: string): OpenBus
  close(): Promise<void>
}

/** The promises of every bus. */
export function busContract(
  name: string,
  setUp: () => Promise<BusScene>,
  { skip = false } = {},
): void {
  // Most of them wait for seconds.
  describe.skipIf(skip).concurrent(`a bus over ${name}`, () => {
    async function scene({ onTestFinished }: TestContext) {
      const scene = await setUp()
      onTestFinished(scene.close)
      return {
        join: () => join(scene.open(scene.url), onTestFinished),
        async throughLine() {
          const line = await openLine(scene.url)
          onTestFinished(line.close)
          return { line, join: () => join(scene.open(line.url), onTestFinished) }
        },
      }
    }

    async function join(open: OpenBus, onTestFinished: TestContext['onTestFinished']) {
      const heard: string[] = []
      const counts = { lost: 0 }
      let wake = () => {}
      const hear = (what: string) => {
        heard.push(what)
        wake()
      }
      const bus = await open({
        message: hear,
        gap: () => hear('gap'),
        lost(count) {
          counts.lost += count
        },
      })
      onTestFinished(bus.close)
      return {
        bus,
        heard,
        counts,
        async until(last: string) {
          while (!heard.includes(last))
            await new Promise<void>((resolve) => {
              wake = resolve
            })
        },
      }
    }

    type Member = Awaited<ReturnType<typeof join>>

    /** Each hears the other, over and over. */
    async function expectTalk(here: Member, there: Member) {
      for (let i = 0; i < 20; i++) {
        await here.bus.send([`a${i}`])
        await there.until(`a${i}`)
        await there.bus.send([`b${i}`])
        await here.until(`b${i}`)
      }
    }

    test('delivers messages to all other nodes in order', async (context) => {
      const { join } = await scene(context)
      const nodes = [await join(), await join(), await join()] as const
      await nodes[0].bus.send(['u1 12', 'u2 12'])
      await nodes[0].bus.send(['last'])
      for (const { heard, until } of nodes.slice(1)) {
        await until('last')
        expect(heard).toEqual(['u1 12', 'u2 12', 'last'])
      }
      expect(nodes[0].counts.lost).toBe(0)
    })

    test('close waits for sends in progress, and nothing is received afterwards', async (context) => {
      const { join } = await scene(context)
      const [here, there] = [await join(), await join()]
      const sending = here.bus.send(['last words'])
      await here.bus.close()
      await sending
      await there.until('last words')
      const { length } = here.heard
      await there.bus.send(['too late'])
      await there.bus.close()
      expect(here.heard).toHaveLength(length)
    })

    test('reconnects after an outage, reports a gap, and still uses one connection', async (context) => {
      const { join, throughLine } = await scene(context)
      const through = await throughLine()
      const [here, there] = [await through.join(), await join()]
      expect(here.bus.isConnected()).toBe(true)
      through.line.cut()
      // Two new attempts after each failure would end in thousands of connections.
      await through.line.refused(6)
      expect(here.bus.isConnected()).toBe(false)
      await here.bus.send(['lost', 'lost too'])
      expect(here.counts.lost).toBe(2)
      through.line.pass()
      await here.until('gap')
      await expectTalk(here, there)
      expect(through.line.count()).toBe(1)
      expect(here.heard.filter((what) => what === 'gap')).toHaveLength(1)
      expect(there.heard).not.toContain('lost')
    })

    test('notices a line that dies in silence, though it sends all the time', async (context) => {
      const { join, throughLine } = await scene(context)
      const through = await throughLine()
      const [here, there] = [await through.join(), await join()]
      through.line.blackHole()
      through.line.pass() // for the next connection
      const sender = setInterval(() => void here.bus.send(['lost']), 10)
      await here.until('gap').finally(() => clearInterval(sender))
      await here.bus.send(['arrives'])
      await there.until('arrives')
      expect(here.counts.lost).toBeGreaterThan(0)
      await expectTalk(here, there)
    })

    test('opens without a connection, and connects later', async (context) => {
      const { join, throughLine } = await scene(context)
      const through = await throughLine()
      through.line.cut()
      const here = await through.join()
      expect(here.bus.isConnected()).toBe(false)
      await through.line.refused(3)
      through.line.pass()
      await here.until('gap')
      await expectTalk(here, await join())
    })

    test('opens though its line is silent, and connects later', async (context) => {
      const { join, throughLine } = await scene(context)
      const through = await throughLine()
      through.line.blackHole()
      const here = await through.join()
      expect(here.bus.isConnected()).toBe(false)
      through.line.pass()
      await here.until('gap')
      await expectTalk(here, await join())
    })

    test.for([
      ['during an attempt', 0],
      ['between two attempts', 20],
    ] as const)(
      'closes while it reconnects, %s, and does not connect again',
      async ([, later], context) => {
        const { throughLine } = await scene(context)
        const [closed, other] = [await throughLine(), await throughLine()]
        const here = await closed.join()
        closed.line.cut()
        await closed.line.refused(2)
        await sleep(later)
        await here.bus.close()
        const refusals = closed.line.refusals()
        // Six attempts of another bus take longer than the next one of this bus would have.
        other.line.cut()
        await other.join()
        await other.line.refused(6)
        expect(closed.line.refusals()).toBe(refusals)
      },
    )

    test('closes while its line is silent', async (context) => {
      const { throughLine } = await scene(context)
      const through = await throughLine()
      const here = await through.join()
      through.line.blackHole()
      const sending = here.bus.send(['lost'])
      await here.bus.close()
      await sending
      expect(here.counts.lost).toBe(1)
    })
  })
}
