// node windows.mjs MODULES URL QUERIES: asks each query over one connection with `ws`, and prints the SHA-256 of each
// answer's text. MODULES is the folder that has `ws` in its node_modules.
import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'

const [modules, url, queries] = process.argv.slice(2)
const { WebSocket } = createRequire(`${modules}/`)('ws')
const socket = new WebSocket(url, { maxPayload: 0 })
const seen = []
socket.on('open', () => JSON.parse(queries).forEach((query) => socket.send(JSON.stringify(query))))
socket.on('message', (data) => {
  seen.push(createHash('sha256').update(data).digest('hex'))
  if (seen.length === JSON.parse(queries).length) {
    console.log(JSON.stringify({ extensions: socket.extensions, seen }))
    socket.close()
  }
})
