import { describe, expect, it } from 'vitest';
let tries = 0;
describe('cart', () => {
  it('adds', () => { console.log('out ]]> & <tag> \u001b[31mred\u001b[0m'); console.error('err'); });
  it.each([[1, 2], [3, 4]])('adds %i to %i', (a, b) => expect(a + 1).toBe(b));
  it('fails', () => { expect({ total: 3, note: ']]> & <tag> \u001b[31mred\u001b[0m \u0001' }).toEqual({ total: 4 }); });
  it.skip('is skipped', () => {});
  it.todo('refunds');
  describe('inner <a & b> é 💥 "quoted"', () => { it('nested', () => {}); });
  it('', () => {});
  it('passes at the third try', { retry: 2 }, () => { if (++tries < 3) throw new Error(`try ${tries}`); });
  it('never passes', { retry: 1 }, () => { throw new Error('always'); });
});
