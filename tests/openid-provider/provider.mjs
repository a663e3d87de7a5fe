// An OpenID provider, and the browsers of its users: `node provider.mjs PORT CLIENT_URL`.
//
// Each line that it reads is a wish, and is answered by one line:
//   login NAME   logs in with a browser of its own, and answers the ID token's claims as JSON
//   logout N     logs the browser of the Nth login out at the provider, counted from 0

import { createHash, randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';

import Provider from 'oidc-provider';

const [port, client] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const redirectUri = `${client}/callback`;
const secret = randomBytes(32).toString('base64url');

const provider = new Provider(issuer, {
  clients: [{
    client_id: 'shop',
    client_secret: secret,
    redirect_uris: [redirectUri],
    response_types: ['code'],
    backchannel_logout_uri: `${client}/logged-out`,
    backchannel_logout_session_required: true,
  }],
  cookies: { keys: [secret] },
  features: { backchannelLogout: { enabled: true } },
  // Its own way refuses addresses of this machine.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
});
provider.on('backchannel.error', (_, error) => console.error(error.message));
await new Promise((listens) => provider.listen(Number(port), '127.0.0.1', listens));

class Browser {
  cookies = new Map();

  async send(url, form) {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const body = form && new URLSearchParams(form);
    const method = form ? 'POST' : 'GET';
    const answer = await fetch(url, { method, body, headers: { cookie }, redirect: 'manual' });
    for (const line of answer.headers.getSetCookie()) {
      const [name, value] = line.split(';')[0].split('=');
      this.cookies.set(name, value);
    }
    return answer;
  }

  // Follows redirects within the provider, and sends its forms of login and consent.
  async walk(url, name) {
    for (let step = 0; step < 20; step += 1) {
      const answer = await this.send(url);
      const location = answer.headers.get('location');
      if (location) {
        url = new URL(location, issuer).href;
        if (url.startsWith(redirectUri)) return new URL(url).searchParams.get('code');
        continue;
      }
      const page = await answer.text();
      const prompt = page.match(/name="prompt" value="(\w+)"/)?.[1];
      if (!prompt) throw new Error(`no form at ${url}: ${page}`);
      const sent = await this.send(url, { prompt, login: name, password: 'any' });
      url = new URL(sent.headers.get('location'), issuer).href;
    }
    throw new Error('the login goes round in circles');
  }

  async logIn(name) {
    const verifier = randomBytes(32).toString('base64url');
    const query = new URLSearchParams({
      client_id: 'shop',
      response_type: 'code',
      scope: 'openid',
      redirect_uri: redirectUri,
      code_challenge: createHash('sha256').update(verifier).digest('base64url'),
      code_challenge_method: 'S256',
    });
    const code = await this.walk(`${issuer}/auth?${query}`, name);
    const answer = await fetch(`${issuer}/token`, {
      method: 'POST',
      headers: { authorization: `Basic ${btoa(`shop:${secret}`)}` },
      body: new URLSearchParams({
        grant_type: 'authorization_code',
        code,
        redirect_uri: redirectUri,
        code_verifier: verifier,
      }),
    });
    const { id_token: idToken } = await answer.json();
    this.idToken = idToken;
    return JSON.parse(Buffer.from(idToken.split('.')[1], 'base64url'));
  }

  async logOut() {
    const query = new URLSearchParams({ id_token_hint: this.idToken });
    const page = await (await this.send(`${issuer}/session/end?${query}`)).text();
    const xsrf = page.match(/name="xsrf" value="(\w+)"/)[1];
    await this.send(`${issuer}/session/end/confirm`, { xsrf, logout: 'yes' });
  }
}

const browsers = [];
console.log('ready');
for await (const line of createInterface({ input: process.stdin })) {
  const [wish, argument] = line.split(' ');
  if (wish === 'login') {
    const browser = new Browser();
    browsers.push(browser);
    console.log(JSON.stringify(await browser.logIn(argument)));
  } else {
    await browsers[Number(argument)].logOut();
    console.log('done');
  }
}
process.exit();
