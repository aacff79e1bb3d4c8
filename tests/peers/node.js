// gRPC for Node without a proxy: asks xds:///TARGET at a steady rate, and says what became of it as core.py does.
'use strict';
const grpc = require('@grpc/grpc-js');
require('@grpc/grpc-js-xds').register();

const [target, rate] = [process.argv[2], Number(process.argv[3])];
const client = new grpc.Client('xds:///' + target, grpc.credentials.createInsecure());
const bytes = (value) => value;
let [underWay, stopped] = [0, false];

function ask() {
  const sent = Date.now();
  let version;
  underWay += 1;
  const call = client.makeUnaryRequest('/stream', bytes, bytes, Buffer.alloc(0), new grpc.Metadata(), { deadline: sent + 30000 }, (error) => {
    const outcome = error ? `! ${error.code} ${error.details}`.replaceAll('\n', ' ') : version;
    process.stdout.write(`${sent} ${Date.now()} ${outcome}\n`);
    underWay -= 1;
    if (stopped && underWay === 0) process.exit(0);
  });
  call.on('metadata', (metadata) => { [version] = metadata.get('x-lab-version'); });
}

console.log('gRPC Node ' + require('@grpc/grpc-js/package.json').version + ' xds ' + require('@grpc/grpc-js-xds/package.json').version);
client.waitForReady(Date.now() + 30000, (error) => {
  if (error) throw error;
  let due = Date.now();
  const ticks = setInterval(() => {
    for (; due <= Date.now(); due += 1000 / rate) ask();
  }, 5);
  process.on('SIGTERM', () => {
    clearInterval(ticks);
    stopped = true;
    if (underWay === 0) process.exit(0);
  });
});
