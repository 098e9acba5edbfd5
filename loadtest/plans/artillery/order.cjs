// The body of an order. Artillery's templates make every value a string, and a quantity is a number.
'use strict';

const { randomInt, randomUUID } = require('node:crypto');

module.exports = { writeOrder };

function writeOrder(request, context, _events, done) {
  request.headers = { ...request.headers, 'X-Idempotency-Key': randomUUID() };
  request.json = {
    items: [{ productId: context.vars.productId, quantity: randomInt(1, 6) }],
    shippingAddress: '123 Test St, Test City, TC 12345',
    paymentMethod: 'CREDIT_CARD',
  };
  done();
}
