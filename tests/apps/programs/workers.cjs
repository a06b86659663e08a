// Worker threads that allocate, exchange buffers with the main thread (transferred and copied), end
// and start again; zlib and crypto on libuv's thread pool; prints digests in a fixed order.
'use strict';
const crypto = require('crypto');
const zlib = require('zlib');
const { promisify } = require('util');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');

function digest(data) {
  return crypto.createHash('sha256').update(data).digest('hex').slice(0, 16);
}

function makeRandom(seed) {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return state % limit;
  };
}

function churn(seed, steps) {
  const random = makeRandom(seed);
  const live = new Map();
  for (let i = 0; i < steps; ++i) {
    const key = random(3000);
    if (random(3) === 0) {
      live.delete(key);
    } else {
      const buffer = Buffer.alloc(random(6000) + 1, i & 0xff);
      live.set(key, { i, buffer, name: 'n'.repeat(random(60)) });
    }
  }
  const hash = crypto.createHash('sha256');
  for (const key of [...live.keys()].sort((a, b) => a - b)) {
    const item = live.get(key);
    hash.update(`${key}:${item.i}:${item.name.length}:`).update(item.buffer);
  }
  return `${live.size} ${hash.digest('hex').slice(0, 16)}`;
}

async function work({ seed }) {
  parentPort.on('message', (message) => {
    if (message === 'stop') {
      parentPort.close();
      return;
    }
    const bytes = new Uint8Array(message);
    for (let i = 0; i < bytes.length; ++i) bytes[i] ^= seed;
    parentPort.postMessage(bytes.buffer, [bytes.buffer]);  // freed by the other thread
  });
  parentPort.postMessage({ answer: churn(seed, 40000), copy: Buffer.alloc(seed * 1000, seed) });
}

function runWorker(seed) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(__filename, { workerData: { seed } });
    const parts = [];
    let rounds = 40;
    const send = () => {
      const bytes = new Uint8Array(10000 + rounds * 1000).fill(rounds);
      worker.postMessage(bytes.buffer, [bytes.buffer]);
    };
    worker.on('error', reject);
    worker.on('message', (message) => {
      if (message instanceof ArrayBuffer) {
        parts.push(digest(Buffer.from(message)));
        if (--rounds === 0) worker.postMessage('stop');
        else send();
      } else {
        parts.push(message.answer, digest(message.copy));
        send();
      }
    });
    worker.on('exit', (code) => {
      if (code === 0) resolve(digest(parts.join()));
      else reject(new Error(`worker ${seed} ended with ${code}`));
    });
  });
}

async function main() {
  for (let generation = 0; generation < 3; ++generation) {
    const seeds = [1, 2, 3, 4].map((n) => generation * 4 + n);
    const answers = await Promise.all(seeds.map(runWorker));
    answers.forEach((answer, i) => console.log(`worker ${seeds[i]} ${answer}`));
  }
  console.log(`main ${churn(99, 100000)}`);

  const records = Array.from({ length: 60000 }, (_, i) => ({ i, s: `v${i % 991}`, l: [i, i + 1] }));
  const text = JSON.stringify(records);
  console.log(`json ${text.length} ${digest(text)} ${JSON.parse(text).length}`);

  const gzip = promisify(zlib.gzip);
  const gunzip = promisify(zlib.gunzip);
  const scrypt = promisify(crypto.scrypt);
  const jobs = Array.from({ length: 12 }, async (_, i) => {
    const packed = await gzip(text.slice(i * 1000), { level: 1 + i % 6 });
    const back = (await gunzip(packed)).toString();
    const key = await scrypt(`password ${i}`, 'salt', 32, { N: 1024 });
    return `${back === text.slice(i * 1000)} ${key.toString('hex').slice(0, 16)}`;
  });
  (await Promise.all(jobs)).forEach((line, i) => console.log(`job ${i} ${line}`));

  for (let i = 0; i < 30; ++i) new Function(`return ${'(1+'.repeat(200)}${i}${')'.repeat(200)}`)();
  const pattern = /(?<first>[a-z]+)(\d{2,})/g;
  console.log(`pattern ${digest(text.replace(pattern, '$2-$<first>'))}`);
}

if (isMainThread) {
  main().catch((error) => {
    console.error(error);
    process.exit(1);
  });
} else {
  work(workerData);
}
