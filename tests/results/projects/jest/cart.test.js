let tries = 0;
describe('cart', () => {
  test('adds', () => { console.log('out ]]> & <tag> \u001b[31mred\u001b[0m'); });
  test.each([[1, 2], [3, 4]])('adds %i to %i', (a, b) => expect(a + 1).toBe(b));
  test('fails', () => expect({ total: 3, note: ']]> & <tag> \u001b[31mred\u001b[0m \u0001' }).toEqual({ total: 4 }));
  test.skip('is skipped', () => {});
  test.todo('refunds');
  describe('inner <a & b> é 💥 "quoted"', () => { test('nested', () => {}); });
  test('same title', () => {});
  test('same title', () => { throw new Error('the second of two'); });
});
test('', () => {});
jest.retryTimes(2);
test('passes at the third try', () => { if (++tries < 3) throw new Error(`try ${tries}`); });
test('never passes', () => { throw new Error('always'); });
