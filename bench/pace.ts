/** Starts the work so many times a second, at even intervals, and waits until all of it is done. */
export async function atRate(
  perSecond: number,
  seconds: number,
  work: (n: number, due: number) => Promise<void>,
): Promise<void> {
  const running: Promise<void>[] = []
  const began = performance.now()
  const total = Math.floor(perSecond * seconds)
  while (running.length < total) {
    const wait = began + (running.length * 1000) / perSecond - performance.now()
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait))
    // From here, not from the plan: what a timer is late by is the generator's, not the server's.
    else running.push(work(running.length, performance.now()))
  }
  await Promise.all(running)
}
