describe('hook', () => {
  beforeAll(() => { throw new Error('before all fails'); });
  test('never runs', () => {});
});
