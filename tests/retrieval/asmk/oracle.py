"""ASMK written down once more, slowly and plainly, one posting at a time in float64."""

import math
from itertools import pairwise

import numpy as np


def aggregate(descriptors, words, offsets, centroids, *, binary):
    """For each image a dict from word to its vector: booleans of the signs, or the normalised residual in float16."""
    images = []
    for first, last in pairwise(offsets):
        sums = {}
        for row in range(first, last):
            for word in words[row]:
                residual = descriptors[row].astype(np.float64) - centroids[word].astype(np.float64)
                sums[word] = sums.get(word, 0.0) + residual
        images.append({word: _vector(total, binary) for word, total in sums.items()})
    return images


def _vector(total, binary):
    if binary:
        return total > 0
    return (total / (math.sqrt(sum(x * x for x in total)) + 1e-6)).astype(np.float16).astype(np.float64)


def weigh(database, words, idf):
    weights = np.ones(words)
    for word in range(words):
        postings = sum(word in image for image in database)
        if idf and postings:
            weights[word] = math.log(len(database) / postings) ** 2
    return weights


def similarity(x, y, alpha, tau):
    if x.dtype == bool:
        bits = 32 * math.ceil(len(x) / 32)
        u = (bits - 2 * int((x != y).sum())) / bits
    else:
        u = float(x @ y)
    return u**alpha if u >= tau else 0.0


def score(queries, database, words, *, alpha, tau, idf):
    """Scores of shape (queries, images)."""
    weights = weigh(database, words, idf)
    scores = np.zeros((len(queries), len(database)))
    for q, query in enumerate(queries):
        for i, image in enumerate(database):
            shared = query.keys() & image.keys()
            total = sum(weights[w] * similarity(query[w], image[w], alpha, tau) for w in shared)
            norm = math.sqrt(sum(weights[w] for w in query)) * math.sqrt(sum(weights[w] for w in image))
            scores[q, i] = total / norm if norm > 0 else 0.0
    return scores


def rank(scores):
    """Image ids of one query by falling score, equal scores by id."""
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i))
