// An agent in JavaScript, with nothing but Node: the sidecar posts each message to it, and what it writes reaches the
// caller piece by piece.
//
//   PORT=8002 node examples/node-agent/server.mjs &
//   switchboard dev --http countdown=8002
//   switchboard send countdown 3 --stream
import { createServer } from "node:http";

const server = createServer(async (request, response) => {
  let body = "";
  for await (const piece of request) body += piece;
  const from = Number(body);
  if (!Number.isInteger(from) || from < 1 || from > 100) {
    response.writeHead(400, { "Content-Type": "text/plain" }).end("say a whole number from 1 to 100");
    return;
  }
  response.writeHead(200, { "Content-Type": "text/plain" });
  for (let number = from; number > 0; number--) response.write(`${number}\n`);
  response.end("lift-off\n");
});

server.listen(Number(process.env.PORT ?? 8002), "127.0.0.1");
