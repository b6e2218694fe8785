/**
 * Carries messages between nodes. It is best effort: a message may arrive late, twice or never, and the
 * sender may receive its own. tests/support/bus-contract.ts tests the promises.
 */
export interface Bus {
  /**
   * Sends to all nodes, in this order. A failed send loses the messages and does not reject. While no other node
   * has been heard of for some seconds, nothing is sent: a node that has just started may miss something.
   */
  send(messages: readonly string[]): Promise<void>
  /** Whether messages arrive now, as far as it is known. */
  isConnected(): boolean
  /** Waits for sends in progress. Nothing is received afterwards. */
  close(): Promise<void>
}

interface Receiver {
  message(text: string): void
  /** Messages may have been missed: the bus has reconnected. */
  gap(): void
  /** So many messages were not sent, or nobody knows whether they were. */
  lost(count: number): void
}

/** Never rejects: without a connection, it is tried again and again. */
export type OpenBus = (receiver: Receiver) => Promise<Bus>
