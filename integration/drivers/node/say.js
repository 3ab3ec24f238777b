'use strict';

// How a value is shown: equal values give equal text, whatever class the driver has for them.

const { inspect } = require('node:util');

function shown(value) {
  return inspect(value, { breakLength: Infinity, depth: Infinity, maxArrayLength: null, sorted: true });
}

function say(...seen) {
  console.log(seen.map((value) => (typeof value === 'string' ? value : shown(value))).join(' '));
}

module.exports = { say, shown };
