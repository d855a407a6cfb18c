// Stands in for a part of a dependency that is left out of a bundle.
module.exports = {}
