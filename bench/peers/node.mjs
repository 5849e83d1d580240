// The backend that most would write in Node: `ws`, events in an array as the plugin's own middleware keeps them, the
// oldest dropped first. With a file as its argument it appends each event to it as a JSON line, and reads it at its start.
import { createWriteStream, existsSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { createServer } from 'node:http'
import { randomUUID } from 'node:crypto'
import { WebSocketServer } from 'ws'

const MAX_EVENTS = 10_000_000
const [file] = process.argv.slice(2)
const events = []
let log

if (file) {
  if (existsSync(file)) {
    const lines = await open(file)
    for await (const line of lines.readLines()) events.push(JSON.parse(line))
  }
  log = createWriteStream(file, { flags: 'a' })
}

function save(batch) {
  for (const event of batch) {
    if (!event.id) event.id = randomUUID()
    events.push(event)
  }
  if (events.length > MAX_EVENTS) events.splice(0, events.length - MAX_EVENTS)
  log?.write(batch.map((event) => JSON.stringify(event) + '\n').join(''))
  return batch.length
}

function find({ since, until }) {
  const from = since ? Date.parse(since) : -Infinity
  const to = until ? Date.parse(until) : Infinity
  const found = events.filter(({ timestamp }) => {
    const at = Date.parse(timestamp)
    return from <= at && at <= to
  })
  found.sort((a, b) => (a.timestamp < b.timestamp ? 1 : a.timestamp > b.timestamp ? -1 : 0))
  return { events: found, total: found.length }
}

const http = createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost')
  response.setHeader('Content-Type', 'application/json')
  response.end(JSON.stringify(find(Object.fromEntries(url.searchParams))))
})
new WebSocketServer({ server: http, path: '/_tracker/ws', perMessageDeflate: true }).on('connection', (socket) => {
  socket.on('message', (data) => {
    const frame = JSON.parse(data)
    if (frame.type === 'ingest') socket.send(JSON.stringify({ type: 'ack', saved: save(frame.events) }))
    else if (frame.type === 'events:query')
      socket.send(JSON.stringify({ type: 'events:response', reqId: frame.reqId, response: find(frame.query) }))
    else if (frame.type === 'auth') socket.send('{"type":"auth_ok"}')
    else if (frame.type === 'ping') socket.send('{"type":"pong"}')
  })
})
http.listen(0, '127.0.0.1', () => console.log(`ready at http://127.0.0.1:${http.address().port}/_tracker`))
