const assert = require('node:assert');
describe('cart', () => {
  it('adds', () => {});
  it('fails', () => assert.strictEqual(3, 4, 'the total ]]> & <tag> \u001b[31mred\u001b[0m \u0001'));
  it.skip('is skipped', () => {});
  it('refunds');
  it(' ', () => {});
  let tries = 0;
  it('passes at the second try', function () { this.retries(2); if (++tries < 2) throw new Error('first'); });
  it('takes too long', function (done) { this.timeout(20); });
  describe('inner <a & b> é 💥 "quoted"', () => { it('nested', () => {}); });
  describe('hook', () => {
    before(() => { throw new Error('before failed'); });
    it('never runs', () => {});
  });
});
it('at the top', () => {});
