// A site of express-session over connect-redis: `node site.js PORT REDIS_URL`.
import { RedisStore } from 'connect-redis';
import express from 'express';
import session from 'express-session';
import { createClient } from 'redis';

const [port, url] = process.argv.slice(2);
const client = createClient({ url });
await client.connect();

// As tests/former-sites/src/lib.rs expects it.
const visitOf = (user) => ({
  user,
  name: `User ${user}, "Äda"`,
  cart: [['tea', 2], ['milk', 300]],
  balance: -1 - user,
  ratio: 0.25,
  referrer: null,
  seen: true,
});

const app = express();
app.use(session({
  store: new RedisStore({ client }),
  secret: ['former secret', 'older secret'],
  resave: false,
  saveUninitialized: false,
  cookie: { maxAge: 3600 * 1000 },
}));
app.get('/login', (request, response) => {
  const user = Number(request.query.user);
  request.session.user_id = user;
  request.session.visit = visitOf(user);
  response.send('welcome');
});
app.get('/whoami', (request, response) => {
  const visit = request.session.visit;
  response.send(visit ? `user ${visit.user}` : 'nobody');
});
app.get('/logout', (request, response, next) => {
  request.session.destroy((error) => (error ? next(error) : response.send('bye')));
});
app.listen(Number(port), '127.0.0.1');
