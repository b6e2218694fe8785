import { Subject } from 'rxjs'

/** What the tabs with the same database tell each other. Where there is one alone, nobody hears. */
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

  /** To the others, not to oneself. */
  tell(message: Message): void {
    this.channel?.postMessage(message)
  }

  close(): void {
    this.message$.complete()
    this.channel?.close()
  }
}
