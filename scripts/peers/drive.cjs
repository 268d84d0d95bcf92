// Runs one of the programs that read WhatsApp Web's QR, in the way its manual
// describes, and writes what it reports to its caller to descriptor 3, one JSON object
// per line, because the programs themselves write to stdout. Exits when stdin ends.
//
//   node drive.cjs NAME MODULES CHROME [CHROME-ARGUMENT…]
//
// Its working folder is removed afterwards; MODULES is a node_modules.
'use strict';

const fs = require('node:fs');
const { createRequire } = require('node:module');
const path = require('node:path');
const { createInterface } = require('node:readline');

const [name, modules, executablePath, ...args] = process.argv.slice(2);
const load = createRequire(path.join(modules, 'peers.js'));

function tell(event, value) {
  fs.writeSync(3, `${JSON.stringify({ event, value: value ?? '' })}\n`);
}

// An error that a program leaves unhandled ends it for its users as well.
process.on('unhandledRejection', (reason) => tell('unhandled', String(reason?.message ?? reason)));

// Starts wppconnect with some options more.
function wppconnect(options) {
  const { create, defaultLogger } = load('@wppconnect-team/wppconnect');
  defaultLogger.level = 'error';
  return create({
    session: 'peer', headless: true, useChrome: false, updatesLog: false, disableWelcome: true, logQR: false,
    // Otherwise the page is replaced by an archived copy of the real one.
    whatsappVersion: null, waitForLogin: false,
    browserArgs: args, puppeteerOptions: { executablePath },
    catchQR: (image, text, attempt, code) => tell('qr', code),
    ...options,
  });
}

const programs = {
  async 'whatsapp-web.js'() {
    const { Client } = load('whatsapp-web.js');
    const client = new Client({ puppeteer: { headless: true, executablePath, args } });
    for (const event of ['qr', 'authenticated', 'ready', 'auth_failure', 'disconnected']) {
      client.on(event, (value) => tell(event, typeof value === 'string' ? value : ''));
    }
    await client.initialize();
    return () => client.pupBrowser.close();
  },

  // Sends a text as soon as it can, and reports the message that it got back.
  async 'whatsapp-web.js sends'() {
    const { Client } = load('whatsapp-web.js');
    const client = new Client({ puppeteer: { headless: true, executablePath, args } });
    client.on('qr', (code) => tell('qr', code));
    client.on('message', (message) => tell('message', message.body));
    client.on('message_create', (message) => tell('create', message.body));
    client.on('message_ack', (message, ack) => tell('ack', String(ack)));
    client.on('ready', async () => {
      tell('ready');
      const sent = await client.sendMessage('5491123456789@c.us', 'from a peer', { waitUntilMsgSent: true })
        .catch((error) => ({ id: { _serialized: `failed: ${error.stack}` } }));
      tell('sent', sent === undefined ? 'undefined' : sent.id._serialized);
    });
    await client.initialize();
    return () => client.pupBrowser.close();
  },

  // Sends each line of stdin to somebody whom the account knows, and reports when it began to, by the
  // system's monotonic clock in nanoseconds, once the server has it.
  async 'whatsapp-web.js sends lines'() {
    const { Client } = load('whatsapp-web.js');
    const client = new Client({ puppeteer: { headless: true, executablePath, args } });
    client.on('qr', (code) => tell('qr', code));
    client.on('ready', () => tell('ready'));
    await client.initialize();
    (async () => {
      for await (const line of createInterface({ input: process.stdin })) {
        const begun = process.hrtime.bigint();
        await client.sendMessage('15550101001@c.us', line, { waitUntilMsgSent: true });
        tell('sent', `${begun}`);
      }
    })();
    return () => client.pupBrowser.close();
  },

  // Sends a text under an id of its own, twice.
  async 'wppconnect sends'() {
    const client = await wppconnect({ autoClose: 0 });
    const { page } = client;
    await page.waitForFunction(() => window.WPP?.isReady && WPP.chat.get('15550101001@c.us'), { timeout: 90000, polling: 200 });
    for (let turn = 0; turn < 2; turn++) {
      tell('sent', await page.evaluate(() => {
        const to = '15550101001@c.us';
        return WPP.chat.sendTextMessage(to, 'from a peer', { waitForAck: true, messageId: `true_${to}_3EB0000000000000000001` })
          .then(({ id, ack, sendMsgResult }) => `${id} ${ack} ${sendMsgResult.messageSendResult}`, (error) => `rejected: ${error.name} ${error.stack}`);
      }));
    }
    return () => client.close();
  },

  // Reports what it receives.
  async 'wppconnect receives'() {
    const client = await wppconnect({ autoClose: 0 });
    await client.page.exposeFunction('heard', (body) => tell('message', body));
    await client.page.waitForFunction(() => window.WPP?.on, { timeout: 90000, polling: 50 });
    await client.page.evaluate(() => WPP.on('chat.new_message', (message) => window.heard(message.body)));
    // A condition that throws the first time is never asked again.
    await client.page.waitForFunction(() => WPP.isReady && WPP.conn.getStreamData().mode === 'MAIN', { timeout: 90000, polling: 200 });
    tell('ready');
    return () => client.close();
  },

  async wppconnect() {
    const client = await wppconnect({ statusFind: (status) => tell('status', status) });
    await client.page.waitForFunction(() => window.WPP?.isReady, { timeout: 40000 }).catch(async () => {
      throw new Error(`wa-js isn't ready: ${await client.page.evaluate(() => JSON.stringify({
        address: location.href, injected: window.WPP?.isInjected, loader: window.WPP?.loader.loaderType, version: window.Debug?.VERSION,
      }))}`);
    });
    // For a moment during the boot the page's stored values can't be read.
    const code = await client.page.waitForFunction(
      async () => (await WPP.conn.getAuthCode().catch(() => null))?.fullCode, { timeout: 20000, polling: 200 });
    tell('authcode', await code.jsonValue());
    return () => client.close();
  },

  async venom() {
    const { create } = load('venom-bot');
    let opened;
    create({
      session: 'peer', headless: 'new', browserPathExecutable: executablePath, addBrowserArgs: args,
      disableSpins: true, disableWelcome: true, updatesLog: false, logQR: false,
      catchQR: (image, text, attempt, code) => tell('qr', code),
      statusFind: (status) => tell('status', status),
    }, undefined, undefined, undefined, (browser) => { opened = browser; })
      .catch((reason) => tell('rejected', String(reason)));
    return () => opened?.close();
  },
};

(async () => {
  let close = async () => {};
  process.stdin.on('end', async () => {
    await Promise.resolve(close()).catch(() => {});
    process.exit(0);
  }).resume();
  try {
    close = await programs[name]();
    tell('started');
  } catch (error) {
    tell('failed', String(error?.stack ?? error));
  }
})();
