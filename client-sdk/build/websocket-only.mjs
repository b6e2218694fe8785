/** An esbuild plugin that leaves out Engine.IO's other transports, which the client never uses. */
export const websocketOnly = {
  name: 'websocket-only',
  setup(build) {
    build.onLoad(
      { filter: /engine\.io-client[\\/]build[\\/]esm[\\/]transports[\\/]index\.js$/ },
      () => ({
        contents: `import { WS } from './websocket.js'\nexport const transports = { websocket: WS }`,
        loader: 'js',
      }),
    )
  },
}
