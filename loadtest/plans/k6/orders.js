// The same mix as artillery/orders.yml, for k6: 70 % submit an order and read its status, 30 % browse products.
// Environment: TARGET, AUTH_TOKEN, PRODUCTS (a file with one id a line), SHORT=1 for half a minute.
import { check } from 'k6';
import http from 'k6/http';
import { SharedArray } from 'k6/data';

const products = new SharedArray('products', () => open(__ENV.PRODUCTS).trim().split('\n'));
const short = __ENV.SHORT === '1';
const read = { headers: { Authorization: `Bearer ${__ENV.AUTH_TOKEN}` } };

const phase = (name, startTime, duration, rate) => ({
  executor: 'constant-arrival-rate', exec: 'visit', tags: { phase: name },
  startTime: `${startTime}s`, duration: `${duration}s`, rate, timeUnit: '1s',
  preAllocatedVUs: 20, maxVUs: 200,
});

export const options = {
  scenarios: short
    ? { warm: phase('warm', 0, 5, 10), sustained: phase('sustained', 5, 15, 50), peak: phase('peak', 20, 10, 100) }
    : { warm: phase('warm', 0, 60, 10), sustained: phase('sustained', 60, 300, 50), peak: phase('peak', 360, 120, 100) },
  thresholds: {
    checks: ['rate==1'],
    dropped_iterations: ['count==0'],
    'http_req_duration{expected_response:true}': ['p(99)<200'],
  },
  summaryTrendStats: ['min', 'med', 'p(95)', 'p(99)', 'max'],
};

const any = (list) => list[Math.floor(Math.random() * list.length)];
const uuid = () => 'xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx'.replace(/x/g, () => Math.floor(Math.random() * 16).toString(16));

export function visit() {
  if (Math.random() < 0.7) order();
  else browse();
}

function order() {
  const body = {
    items: [{ productId: any(products), quantity: 1 + Math.floor(Math.random() * 5) }],
    shippingAddress: '123 Test St, Test City, TC 12345',
    paymentMethod: 'CREDIT_CARD',
  };
  const headers = { ...read.headers, 'Content-Type': 'application/json', 'X-Idempotency-Key': uuid() };
  const answer = http.post(`${__ENV.TARGET}/api/orders`, JSON.stringify(body), { headers, tags: { name: 'submit' } });
  if (!check(answer, { 'an order is accepted': (a) => a.status === 202 })) return;
  const status = http.get(`${__ENV.TARGET}${answer.json('statusUrl')}`, { ...read, tags: { name: 'status' } });
  check(status, { 'and can be read': (s) => s.status === 200 });
}

function browse() {
  const list = http.get(`${__ENV.TARGET}/api/products`, { ...read, tags: { name: 'list' } });
  check(list, { 'products are listed': (l) => l.status === 200 });
  const one = http.get(`${__ENV.TARGET}/api/products/${any(products)}`, { ...read, tags: { name: 'product' } });
  check(one, { 'a product is shown': (o) => o.status === 200 });
}
