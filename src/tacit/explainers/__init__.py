"""Why an encoder says what it says: what is explained, how it is attributed to the parts of an item, and the tests of that."""
