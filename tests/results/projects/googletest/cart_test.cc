#include <gtest/gtest.h>

#include <stdexcept>

TEST(CartTest, Adds) {
  RecordProperty("ticket", "SHOP-17");
  RecordProperty("amount", 3);
  EXPECT_EQ(2 + 3, 5);
}

TEST(CartTest, Fails) {
  EXPECT_EQ(3, 4) << "the total ]]> & <tag> \x1b[31mred\x1b[0m \x01";
  EXPECT_EQ(5, 6) << "and the second";
}

TEST(CartTest, IsSkipped) { GTEST_SKIP() << "needs a card reader"; }

TEST(CartTest, DISABLED_Refunds) {}

TEST(CartTest, BreaksOff) { throw std::runtime_error("no database"); }

class Amounts : public ::testing::TestWithParam<const char*> {};
TEST_P(Amounts, ArePaid) { EXPECT_NE(GetParam(), nullptr); }
INSTANTIATE_TEST_SUITE_P(InEuros, Amounts, ::testing::Values("3 EUR", "\"<a & b>\" é 💥", ""));

template <typename T>
class Typed : public ::testing::Test {};
using Kinds = ::testing::Types<int, double>;
TYPED_TEST_SUITE(Typed, Kinds);
TYPED_TEST(Typed, Works) { EXPECT_EQ(TypeParam(), TypeParam()); }

class Broken : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { FAIL() << "no card reader"; }
};
TEST_F(Broken, RunsAnyway) {}
