import { Subject } from 'rxjs'

/** Messages between tabs with the same database. Does nothing if there is only one. */
export class Tabs<Message> {
  readonly message$ = new Subject<Message>()
  readonly areSeveral: boolean
  private readonly channel: InstanceType<typeof BroadcastChannel> | undefined

  constructor(name: string, areSeveral: boolean) {
    this.areSeveral = areSeveral
    if (!areSeveral) return
    this.channel = new BroadcastChannel(name)
    this.channel.onmessage = (event: { data: unknown }) => this.message$.next(event.data as Message)
  }

  /** Sends to all other tabs. */
  tell(message: Message): void {
    this.channel?.postMessage(message)
  }

  close(): void {
    this.message$.complete()
    this.channel?.close()
  }
}
