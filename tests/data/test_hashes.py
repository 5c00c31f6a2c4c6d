from lrcr.data.hashes import hash_contents


def test_the_hash_of_contents_depends_on_names_and_hashes_but_not_on_their_order():
    a = hash_contents({"x": "1", "y": "2"})
    assert a == hash_contents({"y": "2", "x": "1"})
    assert len({a, hash_contents({"x": "2", "y": "1"}), hash_contents({"x": "1"}), hash_contents({})}) == 4
