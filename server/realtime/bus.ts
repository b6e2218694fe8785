/**
 * What carries messages between nodes. Nothing depends on it: a message may come late, twice, or not at
 * all, and may come back to the node that sent it. tests/support/bus-contract.ts has the promises.
 */
export interface Bus {
  /** To all nodes, in this order. What cannot be sent is lost; it is not for the sender to wait or to know. */
  send(messages: readonly string[]): Promise<void>
  /** After what is being sent. Nothing is received from then on. */
  close(): Promise<void>
}

export interface Receiver {
  message(text: string): void
  /** Messages may have been missed: the connection is there again after it was lost. */
  gap(): void
}

export type OpenBus = (receiver: Receiver) => Promise<Bus>
