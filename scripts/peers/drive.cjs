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

const [name, modules, executablePath, ...args] = process.argv.slice(2);
const load = createRequire(path.join(modules, 'peers.js'));

function tell(event, value) {
  fs.writeSync(3, `${JSON.stringify({ event, value: value ?? '' })}\n`);
}

// An error that a program leaves unhandled ends it for its users as well.
process.on('unhandledRejection', (reason) => tell('unhandled', String(reason?.message ?? reason)));

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

  async wppconnect() {
    const { create, defaultLogger } = load('@wppconnect-team/wppconnect');
    defaultLogger.level = 'error';
    const client = await create({
      session: 'peer', headless: true, useChrome: false, updatesLog: false, disableWelcome: true, logQR: false,
      // Otherwise the page is replaced by an archived copy of the real one.
      whatsappVersion: null, waitForLogin: false,
      browserArgs: args, puppeteerOptions: { executablePath },
      catchQR: (image, text, attempt, code) => tell('qr', code),
      statusFind: (status) => tell('status', status),
    });
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
