module.exports = { retries: 2, workers: 1, projects: [{ name: 'api' }] };
