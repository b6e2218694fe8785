import type { Timeline } from '../timeline.ts'

const DELAY_MS = 2

interface Channel {
  name: string
  onmessage: ((event: { data: unknown }) => void) | null
}

/** The `BroadcastChannel`s of one device, which deliver in order after a short delay. */
export class Channels {
  /** Whether the device can have several tabs; a phone app cannot. */
  readonly areSeveral: boolean
  private readonly timeline: Timeline
  private readonly channels = new Set<Channel>()

  constructor(timeline: Timeline, areSeveral: boolean) {
    this.timeline = timeline
    this.areSeveral = areSeveral
  }

  /** The class for one tab, and a function that closes the channels of that tab. */
  open(isAlive: () => boolean): { Channel: unknown; close: () => void } {
    const opened = new Set<Channel>()
    const { channels } = this
    const post = (from: Channel, data: unknown) => this.post(from, data)
    class TabChannel implements Channel {
      readonly name: string
      onmessage: Channel['onmessage'] = null

      constructor(name: string) {
        this.name = name
        channels.add(this)
        opened.add(this)
      }

      postMessage(data: unknown): void {
        if (isAlive() && channels.has(this)) post(this, data)
      }

      close(): void {
        channels.delete(this)
      }
    }
    const close = () => {
      for (const channel of opened) channels.delete(channel)
    }
    return { Channel: TabChannel, close }
  }

  private post(from: Channel, data: unknown): void {
    const copy = JSON.stringify(data)
    for (const channel of this.channels) {
      if (channel === from || channel.name !== from.name) continue
      this.timeline.after(DELAY_MS, () => {
        if (this.channels.has(channel)) channel.onmessage?.({ data: JSON.parse(copy) })
      })
    }
  }
}
