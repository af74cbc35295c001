const { test, expect } = require('@playwright/test');
test.describe('cart', () => {
  test('adds', async () => { console.log('out ]]> & <tag> \u001b[31mred\u001b[0m \u0001'); console.error('err'); });
  test('fails', async ({}, info) => { await info.attach('note', { body: 'hello', contentType: 'text/plain' }); expect({ total: 3 }).toEqual({ total: 4 }); });
  test('is flaky', { annotation: { type: 'issue', description: 'SHOP-17' } }, async ({}, info) => { expect(info.retry).toBe(2); });
  test('fails as expected', async () => { test.fail(); throw new Error('as expected'); });
  test('passes unexpectedly', async () => { test.fail(); });
  test.skip('is skipped', async () => {});
  test.fixme('is to be repaired', async () => {});
  test('takes too long', async () => { test.setTimeout(200); await new Promise(() => {}); });
  test.describe('inner <a & b> é 💥 "quoted"', () => { test('nested', async () => { await test.step('a step', async () => {}); }); });
});
test.describe('hook', () => {
  test.beforeAll(() => { throw new Error('before failed'); });
  test('never runs', async () => {});
});
test.describe.serial('serial', () => {
  test('the first fails', async () => { throw new Error('first'); });
  test('the second is not run', async () => {});
});
