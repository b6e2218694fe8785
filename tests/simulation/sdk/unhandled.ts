/** Reports unhandled rejections during the work instead of crashing: browsers also continue after them. */
export async function withUnhandled<T>(
  told: (error: unknown) => void,
  work: () => Promise<T>,
): Promise<T> {
  const others = process.listeners('unhandledRejection')
  process.removeAllListeners('unhandledRejection')
  process.on('unhandledRejection', told)
  try {
    return await work()
  } finally {
    process.removeListener('unhandledRejection', told)
    for (const other of others) process.on('unhandledRejection', other)
  }
}
