// An AudioHook server in another language, without libraries: it echoes the caller's audio.
// It writes its port to standard output.
import { createHash } from "node:crypto";
import { createServer } from "node:http";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;

function frame(opcode, payload) {
  const head = payload.length < 126 ? Buffer.alloc(2) : Buffer.alloc(4);
  head[0] = 0x80 | opcode;
  if (payload.length < 126) {
    head[1] = payload.length;
  } else {
    head[1] = 126;
    head.writeUInt16BE(payload.length, 2);
  }
  return Buffer.concat([head, payload]);
}

// Returns the first frame of the buffer and the rest, or null if the frame is not complete.
function takeFrame(buffer) {
  if (buffer.length < 2) return null;
  let length = buffer[1] & 0x7f;
  let at = 2;
  if (length === 126) {
    if (buffer.length < 4) return null;
    length = buffer.readUInt16BE(2);
    at = 4;
  } else if (length === 127) {
    throw new Error("the frame is too large");
  }
  if (buffer.length < at + 4 + length) return null;
  const mask = buffer.subarray(at, at + 4);
  const payload = Buffer.from(buffer.subarray(at + 4, at + 4 + length));
  payload.forEach((byte, index) => {
    payload[index] = byte ^ mask[index % 4];
  });
  return { opcode: buffer[0] & 15, payload, rest: buffer.subarray(at + 4 + length) };
}

const server = createServer();
server.on("upgrade", (request, socket) => {
  const key = request.headers["sec-websocket-key"];
  const accept = createHash("sha1").update(key + GUID).digest("base64");
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      `Sec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  let buffer = Buffer.alloc(0);
  let seq = 0;
  const send = (message, type, parameters) => {
    seq += 1;
    const answer = { version: "2", type, id: message.id, seq, clientseq: message.seq, parameters };
    socket.write(frame(TEXT, Buffer.from(JSON.stringify(answer))));
  };
  const receive = {
    open: (message) => send(message, "opened", { media: message.parameters.media.slice(0, 1) }),
    ping: (message) => send(message, "pong", {}),
    close: (message) => send(message, "closed", {}),
  };
  socket.on("error", () => socket.destroy());
  socket.on("data", (data) => {
    buffer = Buffer.concat([buffer, data]);
    for (let one = takeFrame(buffer); one !== null; one = takeFrame(buffer)) {
      buffer = one.rest;
      if (one.opcode === TEXT) {
        const message = JSON.parse(one.payload.toString());
        receive[message.type]?.(message);
      } else if (one.opcode === BINARY) {
        socket.write(frame(BINARY, one.payload));
      } else if (one.opcode === CLOSE) {
        socket.end(frame(CLOSE, one.payload));
      }
    }
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
