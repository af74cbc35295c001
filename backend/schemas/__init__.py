"""The shapes of requests and answers, by resource."""
