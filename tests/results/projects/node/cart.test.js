const { describe, it, test } = require('node:test');
const assert = require('node:assert');
describe('cart', () => {
  it('adds', () => {});
  it('fails', () => assert.strictEqual(3, 4));
  it('fails with nasty text', () => { throw new Error('the total & <tag> \u001b[31mred\u001b[0m \u0001'); });
  it('is skipped', { skip: 'no reader' }, () => {});
  describe('inner <a & b> é 💥 "quoted"', () => { it('nested', () => {}); });
  it(' ', () => {});
});
describe('nothing', () => {});
test('at the top', () => {});
test('with a note', (t) => { t.diagnostic('a note -- with dashes'); });
test('todo', { todo: true }, () => { throw new Error('not yet'); });
test('subtests', async (t) => { await t.test('first', () => {}); await t.test('second', () => { throw new Error('the second'); }); });
