/**
 * Runs what a process is there for. When it cannot even start, the reason is told in words, without
 * a trace, and the process ends with 1.
 */
export async function orExplain(work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    process.stderr.write(`${explain(error)}\n`)
    process.exit(1)
  }
}

function explain(error: unknown): string {
  const { code, port, message } = error as NodeJS.ErrnoException & { port?: number }
  if (code === 'EADDRINUSE')
    return `Port ${port} is taken: stop what uses it, or set PORT to another.`
  if (code && /^E[A-Z_]+$/.test(code))
    return `The database of DATABASE_URL cannot be reached (${code}): check the address, and that it runs.`
  return message || String(error)
}
