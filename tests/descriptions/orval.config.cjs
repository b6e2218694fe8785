// SERVER_URL is the server under test.
const input = './generated/openapi.json'
module.exports = {
  fetch: {
    input,
    output: { target: './generated/orval.ts', client: 'fetch', baseUrl: process.env.SERVER_URL },
  },
  zod: { input, output: { target: './generated/orval-zod.ts', client: 'zod' } },
}
