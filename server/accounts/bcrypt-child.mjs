import bcrypt from 'bcrypt'

// Signals to the group are for the server, which may still have people signing in to finish.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => {})
process.on('disconnect', () => process.exit())
process.on('message', ({ id, work, values }) => {
  bcrypt[work](...values).then(
    (value) => process.send({ id, value }),
    (error) => process.send({ id, error: error.message }),
  )
})
